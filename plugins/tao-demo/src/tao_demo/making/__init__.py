"""How the messages of the suite *inbox* are made: word lists, shapes, and the code that fills them."""
