"""The same models in Django and in SQLAlchemy."""

import page_django
import page_sqlalchemy
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

Email = page_django.set_up()
email = Email.objects.create(subject="Hello")
Draft = page_sqlalchemy.Email
engine = create_engine("sqlite:///drafts.sqlite")
page_sqlalchemy.Base.metadata.create_all(engine)
Session = sessionmaker(engine)
