def write_script(found, folder, lab):
    return []
