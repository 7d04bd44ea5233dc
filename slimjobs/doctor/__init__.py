"""Whether an application and the processes of its Redis agree: on formats, classes and limits."""
