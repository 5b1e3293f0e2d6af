"""The web page of DockerCoins."""
