"""Extraction of the demo clips with small crops."""

import pytest

from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.extract import extract_dataset
from dfutils.settings import ExtractionSettings


@pytest.fixture(scope="session")
def extract(demo_labels):
    """Extract the demo clips into a folder; keywords change the settings or are options of `extract_dataset`."""

    def run(folder, **changes):
        options = {name: changes.pop(name) for name in list(changes) if name not in ExtractionSettings.model_fields}
        settings = ExtractionSettings(size=96, **changes)
        catalogue = read_catalogue(demo_labels.parent, demo_labels)
        return extract_dataset(catalogue, folder, settings=settings, progress=False, **options)

    return run
