package ledger

// ShortID returns a container id as runtimes' tools show it.
func ShortID(id string) string {
	const digits = 13
	if len(id) > digits {
		return id[:digits]
	}
	return id
}
