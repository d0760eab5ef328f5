"""Annotated data sets: reading, checking, converting and counting them."""
