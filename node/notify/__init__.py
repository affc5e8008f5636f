"""Notices: what is wrong is told by e-mail and webhook, without patient data, each trouble once in a while."""
