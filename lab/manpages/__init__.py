"""Manual pages, made of the same declarations as the metadata.

    python3 -m lab.manpages DIRECTORY

Needs nothing but the standard library and, beside ocf_py, agents/ and fence/ on the module path: a package is built with it.  The date
of the pages is that of SOURCE_DATE_EPOCH, today's without it.
"""
