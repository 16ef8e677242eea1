"""Labels of annotation tools: Label Studio, CVAT, ELAN, VIA and BORIS, each in a file."""
