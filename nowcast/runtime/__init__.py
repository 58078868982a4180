"""What the package needs of the machine, of the process it runs in and of the libraries under it.

May import nothing of nowcast but its errors and files. Read `threads` first; private functions of
other libraries are used in `torch_private` and `library_private` alone, each with a fallback.
"""
