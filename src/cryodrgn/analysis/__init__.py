"""Statistics, figures and report pages of results.

Principal components, clusters, densities and paths of a latent space; plots of arrays; pages
put together from the files that an analysis wrote.
"""
