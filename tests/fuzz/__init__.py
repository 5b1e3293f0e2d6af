"""Bad input: what servers of the lab do with requests that no honest client would send."""
