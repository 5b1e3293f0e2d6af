"""What the commands of `workshop` do; `workshop/cli.py` declares them."""
