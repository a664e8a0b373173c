package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
)

func TestIssue(t *testing.T) {
	ca, err := NewAuthority("ca")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	server, err := ca.Issue(Subject{Name: "s", IPs: []string{"10.0.0.2"}, DNS: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Issue(Subject{Name: "system:node:node1", Groups: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.0.0.2", "kubernetes"} {
		if _, err := leaf(t, server).Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("server as %s: %v", name, err)
		}
	}
	c := leaf(t, client)
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("client: %v", err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client's certificate passes for a server's")
	}
	if !slices.Equal(c.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("groups %v", c.Subject.Organization)
	}
}

func leaf(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestServiceAccountKey(t *testing.T) {
	p, err := ServiceAccountKey()
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(p.Cert)
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
		t.Fatalf("public key block %+v", block)
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Error(err)
	}
}
