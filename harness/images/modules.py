"""Which kernel modules to load, and in which order, from what depmod wrote.

Understands ``modules.dep`` (hard dependencies), ``modules.softdep`` (``pre:`` only; a name
there may be an alias, from ``modules.alias``) and ``modules.builtin``. It matters: erofs
mounts only after ``crc32c`` is there, which is a softdep of a dependency and not in
``modules.dep``.

Sources: modules.dep(5), modprobe.d(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from harness.errors import ImageError
from harness.images.modinfo import module_content


@dataclass(frozen=True, slots=True)
class Module:
    """A module to load. ``optional`` ones may refuse (a CPU's own crc32c, for example)."""

    name: str
    path: str
    optional: bool


@dataclass(frozen=True)
class ModuleTree:
    """The modules of one kernel. ``top`` is its ``lib/modules/RELEASE``; paths are below it."""

    top: Path
    paths: Mapping[str, str]
    needs: Mapping[str, tuple[str, ...]]
    soft: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, tuple[str, ...]]
    builtin: frozenset[str]

    @classmethod
    def read(cls, top: Path) -> ModuleTree:
        """ImageError when ``top`` holds no modules.dep."""
        try:
            dep = (top / "modules.dep").read_text(encoding="utf-8")
        except OSError as error:
            raise ImageError(f"{top}: has no readable modules.dep: {error.strerror}") from error
        paths: dict[str, str] = {}
        needs: dict[str, tuple[str, ...]] = {}
        for line in dep.splitlines():
            path, _, rest = line.partition(":")
            paths[_name(path)] = path
            # modules.dep names the nearest dependency first; it must be loaded last.
            needs[_name(path)] = tuple(_name(item) for item in reversed(rest.split()))
        soft: dict[str, tuple[str, ...]] = {}
        for words in _lines(top / "modules.softdep", "softdep"):
            soft[_plain(words[0])] = tuple(_before(words[1:]))
        aliases: dict[str, tuple[str, ...]] = {}
        for words in _lines(top / "modules.alias", "alias"):
            if len(words) == 2:
                key = _plain(words[0])
                aliases[key] = (*aliases.get(key, ()), _plain(words[1]))
        builtin = top / "modules.builtin"
        names = builtin.read_text(encoding="utf-8").split() if builtin.exists() else []
        return cls(top, paths, needs, soft, aliases, frozenset(map(_name, names)))

    def order(self, wanted: Iterable[str]) -> tuple[Module, ...]:
        """``wanted`` and everything they need, in loading order; built-in ones left out.

        ``name?`` is wanted only of a kernel that has it. ImageError names a module that this
        kernel does not have.
        """
        found: dict[str, Module] = {}
        for name in wanted:
            self._visit(_plain(name.removesuffix("?")), name.endswith("?"), found, frozenset())
        return tuple(found.values())

    def _visit(
        self, name: str, optional: bool, found: dict[str, Module], above: frozenset[str]
    ) -> None:
        if name in above or name in self.builtin:
            return
        if name not in self.paths:
            if optional:
                return
            near = get_close_matches(name, self.paths, 1)
            raise ImageError(
                f"kernel {self.top.name} has no module {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else "",
            )
        if name in found:
            if found[name].optional and not optional:
                found[name] = Module(name, self.paths[name], False)
            return
        for softly in self.soft.get(name, ()):
            known = softly in self.paths or softly in self.builtin
            for each in (softly,) if known else self.aliases.get(softly, ()):
                self._visit(each, True, found, above | {name})
        for need in self.needs[name]:
            self._visit(need, optional, found, above | {name})
        found[name] = Module(name, self.paths[name], optional)

    def content(self, module: Module) -> bytes:
        """The module, decompressed: the kernel need not do that on every boot."""
        return module_content(self.top / module.path, f"kernel module {module.name}")


def _lines(path: Path, keyword: str) -> Iterator[list[str]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 2 and words[0] == keyword:
                yield words[1:]


def _before(words: list[str]) -> Iterator[str]:
    section = ""
    for word in words:
        if word.endswith(":"):
            section = word
        elif section == "pre:":
            yield _plain(word)


def _plain(name: str) -> str:
    """Modules are named with '-' or '_' alike."""
    return name.replace("-", "_")


def _name(path: str) -> str:
    return _plain(path.rpartition("/")[2].partition(".ko")[0])
