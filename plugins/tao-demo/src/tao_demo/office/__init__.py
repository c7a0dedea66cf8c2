"""The suite *backoffice*: a company's database, questions about it from a grammar, and two base policies."""
