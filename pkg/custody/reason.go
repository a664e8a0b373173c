package custody

// Reason says, in one sentence for the administrator, who uses the function, and what
// to do about it.
func (u Use) Reason() string { return "it is used by " + u.Who }

// TenantReason is Reason without names of other pods and of the node's links.
func (u Use) TenantReason() string { return "it is used by somebody else" }
