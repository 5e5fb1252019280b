"""Importers: each module turns what lies elsewhere into prior folders. `starter` reads installed packages."""
