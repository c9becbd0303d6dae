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

"""Runs the comparisons, one subject after the other.

::

    python benchmarks/run.py [--quick] [--output DIRECTORY] [SUBJECT...]
"""

import argparse
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SUBJECTS = ('switching', 'sockets', 'timers', 'bridge', 'wsgi', 'aio_http',
            'small', 'latency', 'idle', 'startup', 'scaling')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('subjects', nargs='*', metavar='SUBJECT',
                        help='some of: ' + ', '.join(SUBJECTS))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--values', type=int, default=9,
                        help='values of a candidate in each round')
    parser.add_argument('--quick', action='store_true',
                        help='only see that everything runs')
    parser.add_argument('--output', type=pathlib.Path, metavar='DIRECTORY',
                        help='where to write what was measured, as JSON')
    args = parser.parse_args()
    failed = []
    for subject in args.subjects or SUBJECTS:
        if subject not in SUBJECTS:
            parser.error('There is no %r. There are: %s'
                         % (subject, ', '.join(SUBJECTS)))
        options = ['--rounds', str(args.rounds),
                   '--values', str(args.values)]
        if args.quick:
            options = ['--quick']
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            options += ['--output', str(args.output / (subject + '.json'))]
        print('\n%s\n' % subject, flush=True)
        if subprocess.run([sys.executable, HERE / (subject + '.py'),
                           *options]).returncode:
            failed.append(subject)
    print('\n%d passed, %d failed' % (
        len(args.subjects or SUBJECTS) - len(failed), len(failed)))
    return bool(failed)


if __name__ == '__main__':
    sys.exit(main())
