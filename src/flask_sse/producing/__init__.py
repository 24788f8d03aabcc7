"""Events that an application produces one after the other, for one page or for any number of them."""
