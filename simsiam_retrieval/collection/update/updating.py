"""The part of ``Collection`` that changes it: updates, removals, moves, a new index, repairs.

What does the work is imported when it is called, so that a search need not wait for it.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from ...core.paths import absolute
from ...images.files import Listing
from ..index.make_index import record_settings
from ..state import CollectionState
from ..storage.capabilities import Capability
from ..storage.catalog_file import explained
from ..storage.finding import Finding
from ..storage.opening import open_store, open_to_update
from ..storage.sqlite_store import SqliteStore
from ..storage.writer_lock import writing
from .patterns import EMPTY, Patterns
from .results import Preview, Update
from .update_keywords import UpdateKeywords, from_keywords
from .update_options import NO_HOOKS, Hooks, UpdateOptions


class CollectionUpdates(CollectionState):
    """Changes of a collection; ``UserError`` where its store takes no single images."""

    def update(self, roots: Sequence[str | Path] | None = None, **options: Unpack[UpdateKeywords]) -> Update:
        """Update the collection to its folders.

        New and changed files are embedded, and files that are gone are forgotten. Other roots are not touched. A file
        is read if its size, its modification time or the time of its last change differs. A file with known content
        (renamed, moved, copied or touched) is not embedded again. Broken files are recorded with a reason, and tried
        again only after they change. After Ctrl-C the finished work is kept, and ``finished`` is False.

        Args:
            roots: Folders or files; None for all that the collection was made of.

        Keyword Args:
            include: Globs (see ``Glob``) that replace those recorded with these roots; files that match none are
                forgotten.
            exclude: Globs likewise; files that match one are forgotten.
            prune: Forget the items of a root that is missing or has no image any more, and missing items on a file
                system that is no longer mounted. Otherwise they are kept (``held``), because the drive may not be
                mounted.
            reread: Read every file.
            follow_links: Whether to follow links to folders; None is as before (a new collection does not).
            pages: Pages of TIFFs, and frames of DICOM files, that are items: "first" or "all"; None is as before.
            on_wait: Wait for another process's update; called with a message first. None: raise an error instead.
            regions: Whether to store vectors of parts of each picture, too (``region_vectors``); None is as before.
            workers: Number of worker processes; None is one per CPU.
            on_start: Called with the number of files to read.
            on_progress: Called with the number of further files that were read.

        Returns:
            What was done.

        Raises:
            UserError: A root does not exist (unless ``prune``), a pattern is wrong, or another process is updating.
        """
        self._require(Capability.UPDATE)
        return self.update_with(*from_keywords(UpdateOptions, options), roots)

    def update_with(
        self,
        options: UpdateOptions,
        hooks: Hooks = NO_HOOKS,
        roots: Sequence[str | Path] | None = None,
        listing: Listing | None = None,
    ) -> Update:
        """Run ``update`` with options and hooks that are made already.

        Args:
            options: The options.
            hooks: Functions that are called.
            roots: See ``update``.
            listing: The files of the roots, if they are already listed; the roots are absolute then.

        Returns:
            What was done.

        Raises:
            UserError: As in ``update``.
        """
        from .run_update import listed, run_update

        self._require(Capability.UPDATE)
        if listing is None:
            paths, listing = listed(self._updatable(), self._lock, roots, options)
        else:
            paths = [Path(root) for root in roots or ()]
        report, index = run_update(
            self.folder, self.dim, paths, listing, options, hooks, lambda: (self.encoder, self.reading)
        )
        if index is not None:
            self._searcher.use(index)
        return report

    def update_listed(
        self,
        roots: Sequence[Path],
        listing: Listing,
        *,
        patterns: Patterns = EMPTY,
        **options: Unpack[UpdateKeywords],
    ) -> Update:
        """Run ``update`` for roots whose files are already listed.

        Args:
            roots: Absolute paths.
            listing: Their files.
            patterns: ``include`` and ``exclude`` in one value.
            **options: See ``update``.

        Returns:
            What was done.

        Raises:
            UserError: As in ``update``.
        """
        self._require(Capability.UPDATE)
        keywords: UpdateKeywords = {"include": patterns.include, "exclude": patterns.exclude, **options}
        return self.update_with(*from_keywords(UpdateOptions, keywords), roots, listing)

    def preview(self, roots: Sequence[str | Path] | None = None, **options: Unpack[UpdateKeywords]) -> Preview:
        """Return what ``update`` would do, without doing it. New files are read only to find moved ones.

        Args:
            roots: See ``update``.
            **options: See ``update``.

        Returns:
            The preview.

        Raises:
            UserError: As in ``update``.
        """
        self._require(Capability.UPDATE)
        return self.preview_with(from_keywords(UpdateOptions, options)[0], roots)

    def preview_with(self, options: UpdateOptions, roots: Sequence[str | Path] | None = None) -> Preview:
        """Run ``preview`` with options that are made already.

        Args:
            options: The options.
            roots: See ``update``.

        Returns:
            The preview.

        Raises:
            UserError: As in ``update``.
        """
        from .run_update import listed, preview

        self._require(Capability.UPDATE)
        paths, listing = listed(self._updatable(), self._lock, roots, options)
        return preview(self.folder, paths, listing, options)

    def remove(self, paths: Sequence[str | Path], *, on_wait: Callable[[str], None] | None = None) -> Update:
        """Forget items and roots; the files are not touched.

        An update of a root above finds them again, unless its patterns leave them out.

        Args:
            paths: Files or folders; everything in them is forgotten.
            on_wait: See ``update``.

        Returns:
            What was done.

        Raises:
            UserError: The collection has nothing there, or another process is updating.
        """
        self._require(Capability.UPDATE)
        from .edit import remove

        report, index = remove(self.folder, self.dim, [absolute(path) for path in paths], on_wait)
        if index is not None:
            self._searcher.use(index)
        return report

    def move(self, old: str | Path, new: str | Path, *, on_wait: Callable[[str], None] | None = None) -> int:
        """Record that a folder was moved, with everything in it.

        No file is opened; ids, labels, vectors and thumbnails stay.

        Args:
            old: The old path.
            new: The new path.
            on_wait: See ``update``.

        Returns:
            Number of moved images.

        Raises:
            UserError: ``new`` does not exist, nothing of ``old`` or something of ``new`` is in the collection, or
                another process is updating.
        """
        self._require(Capability.UPDATE)
        from .edit import move

        return move(self.folder, absolute(old), absolute(new), on_wait)

    def choose_index(
        self, kind: str | None = None, recall: float | None = None, *, on_wait: Callable[[str], None] | None = None
    ) -> None:
        """Choose the FAISS index for later updates; ``rebuild_index`` builds it now.

        Args:
            kind: See ``rebuild_index``.
            recall: See ``rebuild_index``.
            on_wait: See ``update``.

        Raises:
            UserError: The type is unknown, or another process is updating.
        """
        self._require(Capability.UPDATE)
        with (
            writing(self.folder, on_wait),
            explained(self.folder),
            contextlib.closing(open_to_update(self.folder)) as store,
        ):
            record_settings(store, kind, recall)

    def rebuild_index(
        self,
        kind: str | None = None,
        *,
        recall: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Build the FAISS index again from the stored vectors. Reads no image.

        Args:
            kind: auto, flat, float16, ivf, ivf-sq8 or hnsw. Stored for later updates; None keeps the old type.
            recall: Target recall@10 of an approximate index. Stored for later updates; None keeps the old one.
            on_wait: See ``update``.

        Raises:
            UserError: The type is unknown, a stored vector is damaged, or another process is updating.
        """
        from ..maintenance import rebuild_index

        index = rebuild_index(self._store, self.dim, kind, recall, on_wait)
        if index is not None:
            self._searcher.use(index)

    def verify(self, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Check catalog, vectors, thumbnails, FAISS file and encoder against each other, and repair problems.

        The catalog itself is checked first (``mending.mend``). Images whose stored facts are damaged are forgotten, so
        that the next update reads them again. A FAISS file that does not fit is built again from the catalog.

        Args:
            on_wait: See ``update``.

        Returns:
            Each problem with its repair.

        Raises:
            UserError: The encoder is damaged, or nothing can be read.
        """
        from ..maintenance import verify, verify_shards
        from ..storage.mending import mend

        if Capability.UPDATE not in self._store.capabilities:
            return verify_shards(self.folder, self.encoder_identity, on_wait)
        mended = mend(self.folder, on_wait)
        with self._lock:
            self._reopen()
        found, index = verify(self.folder, self.dim, lambda: self.encoder, on_wait)
        if index is not None:
            self._searcher.use(index)
        return mended + found

    @classmethod
    def mend(cls, path: str | Path, *, on_wait: Callable[[str], None] | None = None) -> list[Finding]:
        """Repair what prevents a collection from being opened. ``verify`` does this too, and checks the rest.

        Args:
            path: The collection's folder.
            on_wait: See ``update``.

        Returns:
            Each problem with its repair.

        Raises:
            UserError: Nothing can be read.
        """
        from ..storage.mending import mend

        return mend(absolute(path), on_wait)

    def _reopen(self) -> None:
        """Open the catalog again, because mending may have replaced the file."""
        self._store.close()
        with explained(self.folder):
            self._store = open_store(self.folder)
        self._searcher.read_from(self._store)

    def _updatable(self) -> SqliteStore:
        assert isinstance(self._store, SqliteStore)
        return self._store
