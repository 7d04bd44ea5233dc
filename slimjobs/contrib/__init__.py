"""Glue to other products, one package each; nothing of slimjobs imports them."""
