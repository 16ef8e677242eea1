"""What exported recognizers need: inputs and a script that runs them without Kinema."""
