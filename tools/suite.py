# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What running somebody else's tests twice says, and where they come from.

The tests run on what they were written for, the base, and on what is tested.
A test that fails on both says nothing about the latter; one that passes on
the base has to pass there too, and to run there. What need not pass is listed
in a file, with the reason. The list has to be exact: an entry that matches no
test, or a test that passes, counts as failed.
"""

import collections
import fnmatch
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile

# What became of each test: its outcome, as pytest names it, and the text.
Result = tuple[str, str]
Results = dict[str, Result]


class SuiteError(Exception):
    """The suite cannot run; the message says why."""


def installed(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise SuiteError(f'{name} is not installed') from None


def get_sdist(name: str, version: str, cache: pathlib.Path) -> pathlib.Path:
    """Return the sdist, from the directory *cache* or else downloaded."""
    sdist = cache / f'{name.replace(".", "_")}-{version}.tar.gz'
    if not sdist.exists():
        print(f'downloading {sdist.name}', flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temp:
            # pip also runs the sdist's build backend, for its metadata.
            command = [
                sys.executable, '-m', 'pip', 'download', '--quiet',
                '--no-deps', '--no-binary', name, '--dest', temp,
                f'{name}=={version}']
            if subprocess.run(command).returncode:
                raise SuiteError(f'pip could not download {sdist.name}')
            os.replace(pathlib.Path(temp, sdist.name), sdist)
    return sdist


def default_cache() -> pathlib.Path:
    cache = os.environ.get('TOX_ENV_DIR') or '~/.cache/aiohub'
    return pathlib.Path(cache).expanduser()


# -- results


def note(results: Results, result: str, outcome: str, text: str) -> None:
    """Keep the worst: a test has an outcome for each of its phases."""
    order = ('passed', 'skipped', 'failed')
    old, _ = results.get(result, ('passed', ''))
    if order.index(outcome) >= order.index(old):
        results[result] = (outcome, text)


def having(outcome: str, results: Results) -> list[str]:
    return sorted(n for n, result in results.items() if result[0] == outcome)


def counts(results: Results) -> str:
    by = collections.Counter(outcome for outcome, _ in results.values())
    return ', '.join(f'{by[k]} {k}' for k in ('passed', 'failed', 'skipped'))


def last_error(text: str) -> str:
    """Return the line of a report that says most."""
    errors = [line[1:].strip() for line in text.splitlines()
              if line.startswith('E  ')]
    return (errors or text.splitlines() or [''])[0][:200]


# -- what need not pass


def read_left_out(path: pathlib.Path) -> dict[str, str]:
    """Return the entries of the file, and the reason of each."""
    entries = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith('#'):
            name, _, reason = line.partition(' ')
            if not reason.strip():
                raise SuiteError(f'{path}: no reason is given for {name}')
            entries[name] = reason.strip()
    return entries


def is_left_out(name: str, entries: dict[str, str]) -> str | None:
    """Return the entry for this test, in which * stands for anything."""
    for entry in entries:
        if name == entry or fnmatch.fnmatchcase(name, entry):
            return entry
    return None


# -- the verdict


def judge(on: tuple[str, str], base: Results, ours: Results,
          left_out: dict[str, str], complete: bool) -> dict[str, str]:
    """Return what counts as failed, and why.

    :param on: What the base is, and what is tested.
    :param complete: Whether all was run, and as it is meant to be.
    """
    wrong = {}
    unused = set(left_out) if complete else set()
    for name in sorted(ours | base):
        mine, text = ours.get(name, ('not run', ''))
        theirs, _ = base.get(name, ('not run', ''))
        if entry := is_left_out(name, left_out):
            unused.discard(entry)
            if mine == 'passed' and complete:
                wrong[name] = 'passes, but is left out'
        elif mine == 'failed' != theirs or theirs == 'passed' != mine:
            wrong[name] = '%s: %s, %s: %s %s' % (
                on[0], theirs, on[1], mine, last_error(text))
    return wrong | dict.fromkeys(unused, 'is left out, but matches no test')


def show(title: str, lines: dict[str, str]) -> None:
    print(f'\n{title}: {len(lines)}')
    for name, text in lines.items():
        print(f'    {name}: {text}')


def report(on: tuple[str, str], base: Results, ours: Results,
           left_out: dict[str, str], lucky: dict[str, str],
           wrong: dict[str, str]) -> int:
    """Print all that matters; return the exit status.

    :param lucky: What failed at first and passed when it ran again.
    :param wrong: What :func:`judge` has returned, and what else is wrong.
    """
    for name in wrong:
        if name in ours and ours[name][0] == 'failed':
            print(f'\n===== {name} on {on[1]}\n{ours[name][1]}')
    show(f'failed on {on[0]}, not counted',
         {name: last_error(base[name][1]) for name in having('failed', base)})
    show('failed at first, passed when run again alone', lucky)
    show('left out', left_out)
    show('failed', wrong)
    print()
    for what, each in zip(on, (base, ours)):
        print(f'{what:12} {counts(each)}')
    passed, skipped = (len(set(having(outcome, ours)) - set(wrong))
                       for outcome in ('passed', 'skipped'))
    if not passed and not wrong:
        raise SuiteError('no test was run')
    print(f'\n{passed} passed, {len(wrong)} failed, {skipped} skipped')
    return 1 if wrong else 0
