#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Makes a page of the documentation of what ``run.py`` has measured.

::

    python benchmarks/report.py DIRECTORY... --output PAGE

Each directory has what ``run.py --output`` wrote on one Python. *PAGE* is the
path of what a page above includes, without ``.inc``; the plot and the data go
next to it.
"""

import argparse
import importlib
import pathlib
import shutil
import statistics

import comparing
import matplotlib
import pyperf
import run

matplotlib.use('svg')
# The same data make the same file.
matplotlib.rcParams['svg.hashsalt'] = 'aiohub'

#: What the page compares with the base of each row.
SHOWN = {'aiohub': 'tab:blue', 'aiohub, tasks not green': 'tab:cyan',
         "eventlet's asyncio": 'tab:orange', 'gevent': 'tab:green',
         'uvloop': 'tab:olive', 'asyncio-gevent': 'tab:red',
         'asyncio, in bare greenlets': 'tab:brown'}

SWITCHING = ('spawn and wait', 'Queue, there and back', 'Queue, 10 to 10',
             '3,000 timers at random', 'Timeout made and cancelled',
             '10,000 timers, 9,900 cancelled')
ASYNCIO = ('asyncio streams, echo', 'aiohttp requests',
           'streams, a program of its own', 'aiohttp, a program of its own')
#: What aiohub is to reach: rows; whether what counts is their geometric mean,
#: or each of them; the candidate; and the least ratio.
TARGETS: tuple[tuple[tuple[str, ...], bool, str, float], ...] = (
    (('1 pair of sockets', '100 pairs of sockets'), False, 'aiohub', 1.25),
    (('sleep(0), 100 green threads',), False, 'aiohub', 1.3),
    (('sleep(0), 1 green thread', *SWITCHING), False, 'aiohub', 1.0),
    (SWITCHING, True, 'aiohub', 1.1),
    (('WSGI under wrk, keep-alive', 'WSGI under wrk, no keep-alive',
      'WSGI under Python, keep-alive', 'WSGI under Python, no keep-alive'),
     False, 'aiohub', 1.05),
    (('await_(), suspends once',), False, 'aiohub', 3),
    (('await_(), at once',), False, 'aiohub', 8),
    (('await of a green thread',), False, 'aiohub', 1.8),
    (('sync_to_async()',), False, 'aiohub', 2),
    (ASYNCIO, False, 'aiohub, tasks not green', 0.97),
    (ASYNCIO, False, 'aiohub', 0.9),
    (('10,000 idle: memory of each',), False, 'aiohub', 1 / 1.05),
)
#: How many times as fast it is to be as asyncio-gevent, in each row of that.
LEAST_OF_GEVENT = 3
#: How late the slowest of 1,000 waits may be, in seconds.
LATE = 0.005
LATENCIES = ('green, asyncio busy: 99.9 % late',
             'asyncio, green busy: 99.9 % late')

Ratios = dict[str, dict[str, dict[str, list[float]]]]


def read(
    directories: list[pathlib.Path],
) -> tuple[Ratios, Ratios, dict[str, str]]:
    """Return ratios by row, candidate and Python; medians; the machine."""
    found: Ratios = {}
    values: Ratios = {}
    machine: dict[str, str] = {}
    for directory in directories:
        for subject in run.SUBJECTS:
            importlib.import_module(subject)
            path = directory / (subject + '.json')
            if not path.exists():
                continue
            suite = pyperf.BenchmarkSuite.load(str(path))
            machine |= suite.get_metadata()
            names = suite.get_benchmark_names()
            for row in comparing.rows():
                base = '%s: %s' % (row.name, row.base)
                if base not in names:
                    continue
                for candidate in SHOWN:
                    name = '%s: %s' % (row.name, candidate)
                    if name not in names or name == base:
                        continue
                    benchmark = suite.get_benchmark(name)
                    version = benchmark.get_metadata()['python_version']
                    by_python = found.setdefault(row.name, {}).setdefault(
                        candidate, {})
                    by_python[version] = comparing.ratios(
                        suite.get_benchmark(base), benchmark)
                    values.setdefault(row.name, {}).setdefault(
                        candidate, {})[version] = comparing.medians(benchmark)
    return found, values, machine


def median(by_python: dict[str, list[float]]) -> float:
    """Return the median of the medians of the Pythons."""
    return statistics.median(map(statistics.median, by_python.values()))


def targets(found: Ratios, values: Ratios) -> list[str]:
    """Return a table of what was to be reached, and what was."""
    lines = ['.. list-table::', '   :header-rows: 1', '',
             '   * - what', '     - candidate', '     - at least',
             '     - median', '     - reached']
    for rows, mean, candidate, least in TARGETS:
        ratios = {row: median(found[row][candidate])
                  for row in rows if candidate in found.get(row, ())}
        if mean and len(ratios) == len(rows):
            ratios = {'geometric mean of these': statistics.geometric_mean(
                ratios.values())}
        for row, ratio in ratios.items():
            lines += ['   * - %s' % row, '     - %s' % candidate,
                      '     - %.2f' % least, '     - %.2f' % ratio,
                      '     - %s' % ('yes' if ratio >= least else '**no**')]
    for row, by_candidate in found.items():
        if 'asyncio-gevent' in by_candidate:
            ratio = (median(by_candidate['aiohub'])
                     / median(by_candidate['asyncio-gevent']))
            lines += ['   * - %s' % row, '     - aiohub, to asyncio-gevent',
                      '     - %.2f' % LEAST_OF_GEVENT, '     - %.2f' % ratio,
                      '     - %s' % ('yes' if ratio >= LEAST_OF_GEVENT
                                     else '**no**')]
    for row in LATENCIES:
        for candidate in ('aiohub', 'aiohub, tasks not green'):
            if candidate in values.get(row, ()):
                late = median(values[row][candidate])
                lines += [
                    '   * - %s' % row, '     - %s' % candidate,
                    '     - at most %g ms' % (LATE * 1000),
                    '     - %.1f ms' % (late * 1000),
                    '     - %s' % ('yes' if late < LATE else '**no**')]
    return [*lines, '']


def plot(found: Ratios, path: pathlib.Path) -> None:
    """Draw the ratios."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(found) + 1.5))
    names = list(found)[::-1]
    height = 0.8 / len(SHOWN)
    middle = (len(SHOWN) - 1) / 2
    for number, (candidate, colour) in enumerate(SHOWN.items()):
        rows = [name for name in names if candidate in found[name]]
        middles = [median(found[name][candidate]) for name in rows]
        everything = [sum(found[name][candidate].values(), [])
                      for name in rows]
        axes.barh(
            [names.index(name) + (middle - number) * height for name in rows],
            middles, height, color=colour, label=candidate, xerr=[
                [ratio - min(values) for ratio, values in zip(
                    middles, everything, strict=True)],
                [max(values) - ratio for ratio, values in zip(
                    middles, everything, strict=True)]],
            error_kw={'elinewidth': 0.8})
    axes.axvline(1, color='black', linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.set_xlabel('times as fast as what aiohub replaces')
    axes.legend(fontsize='small')
    figure.tight_layout()
    figure.savefig(path, metadata={'Date': None})


def page(found: Ratios, values: Ratios, machine: dict[str, str],
         plot_name: str, data: list[str]) -> str:
    """Return the page."""
    pythons = sorted({version for by_candidate in found.values()
                      for by_python in by_candidate.values()
                      for version in by_python})
    lines = [
        '.. Made by benchmarks/report.py.', '',
        'How many times as fast as the base; in brackets, the slowest and the',
        'fastest round of all. The base is what aiohub replaces: epolls for',
        "what only green threads do, eventlet's asyncio hub for the bridge,",
        'plain asyncio for what is only asyncio.', '',
        '.. image:: %s' % plot_name,
        '   :alt: the ratios of the table as bars', '',
        *targets(found, values),
        '.. list-table::', '   :header-rows: 1', '',
        '   * - what', '     - base', '     - candidate']
    lines += ['     - %s' % version for version in pythons]
    rows = {row.name: row for row in comparing.rows()}
    for name, by_candidate in found.items():
        for candidate, by_python in by_candidate.items():
            lines += ['   * - %s' % name, '     - %s' % rows[name].base,
                      '     - %s' % candidate]
            for version in pythons:
                values = by_python.get(version)
                lines.append('     - ' + ('' if not values else (
                    '%.2f (%.2f to %.2f)' % (
                        statistics.median(values), min(values),
                        max(values)))))
    versions = ', '.join(
        '%s %s' % (package, machine[package])
        for package in comparing.PACKAGES if package in machine)
    lines += [
        '', 'On %s (%s processors), %s, with %s.' % (
            machine.get('cpu_model_name', 'an unknown processor'),
            machine.get('cpu_count', '?'), machine['platform'], versions),
        '', 'The data, for ``pyperf``: %s.' % ', '.join(
            ':download:`%s`' % name for name in data), '']
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('directories', nargs='+', type=pathlib.Path,
                        metavar='DIRECTORY')
    parser.add_argument('--output', required=True, type=pathlib.Path,
                        metavar='PAGE')
    args = parser.parse_args()
    found, values, machine = read(args.directories)
    target = args.output.parent
    target.mkdir(parents=True, exist_ok=True)
    data = []
    for directory in args.directories:
        for subject in run.SUBJECTS:
            path = directory / (subject + '.json')
            if path.exists():
                name = '%s-%s.json' % (subject, directory.name)
                shutil.copy(path, target / name)
                data.append('%s/%s' % (target.name, name))
    plot_path = args.output.with_suffix('.svg')
    plot(found, plot_path)
    args.output.with_suffix('.inc').write_text(page(
        found, values, machine, '%s/%s' % (target.name, plot_path.name), data))


if __name__ == '__main__':
    main()
