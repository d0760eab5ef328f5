"""The methods that the library is measured against, one file a method behind one interface."""
