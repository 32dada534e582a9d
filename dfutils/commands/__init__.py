"""Sub-commands of ``dfutils`` by room; heavy parts are imported where they are used."""
