"""The application of the README: its emails are rows somewhere."""

from pathlib import Path

Path("app/database.py").write_text("""
class Email:
    def __init__(self, id):
        self.id = id


def fetch_email(pk):
    return Email(pk)
""")


def before(text):
    global Invitation, Letter, Session
    if "Invitation.objects" in text:
        import page_django
        import page_sqlalchemy
        from sqlalchemy import create_engine
        from sqlalchemy.orm import sessionmaker

        Invitation, Letter = page_django.set_up(), page_sqlalchemy.Email
        engine = create_engine("sqlite:///letters.sqlite")
        page_sqlalchemy.Base.metadata.create_all(engine)
        Session = sessionmaker(engine)
        with Session() as session:
            session.add(Letter(id=1))
            session.commit()
        Invitation.objects.get_or_create(pk=1)


def after():
    failed = slimjobs.Queue("newsletter", connection=redis).failed_job_registry
    assert failed.get_job_ids() == []
