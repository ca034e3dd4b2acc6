"""The served directory: checked names, incoming files, one-step replace, what was created, which disks are quick."""
