"""``sgmri doctor``: what is wrong with this machine, its settings and the services that they name, and what to do."""
