"""Programs that time other toolboxes' models. Each is run by its toolbox's own Python, so none imports Kinema."""
