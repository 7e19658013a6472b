"""Other names on the way: what ``--map FILE`` asks for.

``rules`` says what a mapping is, ``reading`` reads one from a file, ``collisions`` finds what it would make
one, and ``source`` applies it to all that a source gives, so that destinations and verifications see the new
names and know nothing of the old ones.
"""
