"""An application whose emails are registered."""

slimjobs.register(Email, load=fetch_email)
