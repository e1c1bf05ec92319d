package heapdump

var ShortUvarint = shortUvarint
