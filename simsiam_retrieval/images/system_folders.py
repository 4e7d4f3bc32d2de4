"""Folders that systems, servers and programs create for themselves: their pictures are deleted ones or copies."""

import fnmatch

# names in lower case, as globs
TRASH = ("#recycle", "$recycle.bin", "recycler", "recycled", "@recycle", ".trash", ".trash-*", ".trashes", ".trashed-*",
         ".recycle", "network trash folder", "lost+found", ".deleted", ".wastebasket")  # fmt: skip
OLD = ("#snapshot", "@recently-snapshot", ".snapshot", ".snapshots", ".zfs", ".stversions", "~snapshot",
       "system volume information", ".documentrevisions-v100", ".backups", ".versions")  # fmt: skip
THUMBNAILS = ("@eadir", ".@__thumb", ".thumbnails", ".thumbs", ".picasaoriginals", ".digikam", "*.lrdata", "__macosx",
              ".appledouble", ".fseventsd", ".spotlight-v100", "@tmp", "temporary items")  # fmt: skip
NAMES = TRASH + OLD + THUMBNAILS
# in a library of Photos, Aperture or iPhoto only the originals are the user's own pictures
LIBRARIES = (".photoslibrary", ".photolibrary", ".aplibrary", ".migratedphotolibrary")
IN_LIBRARY = ("resources", "database", "private", "scopes", "previews", "thumbnails", "apple tv photo cache", "cache",
              "caches", "faces", "icloud", "proxies", "attachments")  # fmt: skip


def system_folder(name: str, above: str) -> str | None:
    """Recognise trash and system folders.

    Args:
        name: Name of the folder.
        above: Name of its parent folder.

    Returns:
        The name that reports show; None for an ordinary folder.
    """
    lower = name.lower()
    for pattern in NAMES:
        if lower == pattern or ("*" in pattern and fnmatch.fnmatchcase(lower, pattern)):
            return name if "*" not in pattern else pattern
    if above.lower().endswith(LIBRARIES) and lower in IN_LIBRARY:
        return f"a library's {lower}"
    return None
