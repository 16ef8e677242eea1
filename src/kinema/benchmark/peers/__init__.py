"""Programs that time the models of other toolboxes, run by the toolboxes' own Pythons: none imports Kinema."""
