"""tus 1.0 on the paths of streams (https://tus.io/protocols/resumable-upload). An upload is a stream."""
