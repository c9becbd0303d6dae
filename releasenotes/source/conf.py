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

# -- General configuration ----------------------------------------------------

extensions = [
    'openstackdocstheme',
    'reno.sphinxext',
]

# The master toctree document.
master_doc = 'index'

# General information about the project.
project = 'aiohub release notes'
copyright = '2026, aiohub developers'

# Release notes do not need a version in the title: they are about many.
release = ''
version = ''

# -- Options for openstackdocstheme -------------------------------------------

openstackdocs_repo_name = 'openstack/aiohub'
openstackdocs_bug_project = 'aiohub'
openstackdocs_bug_tag = ''
openstackdocs_auto_name = False

# -- Options for HTML output --------------------------------------------------

html_theme = 'openstackdocs'
html_static_path = ['_static']
templates_path = ['_templates']

# -- Options for internationalization -----------------------------------------

locale_dirs = ['locale/']
