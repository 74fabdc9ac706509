"""One module per stage: it reads its inputs, calls the rooms below, and writes its artifact."""
