package network

// Member returns the config of member i as its plugin gets it: with the list's name and
// version, and without a previous result, which only a chain gives.
func (l ConfList) Member(i int) Object {
	ofList := Object{"name": encodeString(l.Name), "cniVersion": encodeString(l.CNIVersion)}
	return l.Plugins[i].Fields.With(ofList).Without("prevResult")
}
