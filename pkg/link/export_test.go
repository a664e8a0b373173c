package link

// Pause keeps the table from reading its messages while fn runs.
func (t *UseTable) Pause(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn()
}
