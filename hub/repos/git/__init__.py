"""Reading a repository with git itself: which objects a clone or fetch needs, packed and spoken as git expects.

    pktline.py     the lines of the protocol           pure
    selection.py   which commits, folders and files    rows
    packing.py     those as one pack file, streamed    rows and bytes
    upload_pack.py the conversation, versions 0 and 2

dulwich has a server too. It reads objects one by one, where rows are cheap by the hundred, and holds what it sends.
"""
