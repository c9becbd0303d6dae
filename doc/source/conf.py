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
    'oslo_config.sphinxconfiggen',
    'oslo_config.sphinxext',
    'sphinx.ext.autodoc',
]

# The master toctree document.
master_doc = 'index'

# General information about the project.
project = 'aiohub'
copyright = '2026, aiohub developers'

# -- Options for openstackdocstheme -------------------------------------------

openstackdocs_repo_name = 'openstack/aiohub'
openstackdocs_bug_project = 'aiohub'
openstackdocs_bug_tag = ''

# -- Options for the sample configuration file --------------------------------

config_generator_config_file = '../config-generator.conf'
sample_config_basename = '_static/aiohub'

# -- Options for autodoc ------------------------------------------------------

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'

# -- Options for HTML output --------------------------------------------------

html_theme = 'openstackdocs'
html_static_path = ['_static']
