package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/pkg/network"
)

// explain turns a failed request into one of three errors: the object does not exist
// (network.ErrNotFound), the API server is unreachable, or it rejects the request.
func (c *Client) explain(doing string, err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case noSuchKind(err):
		return fmt.Errorf("%s: the cluster does not have the CRD (for net-attach-defs, apply deployments/crds): %w", doing, network.ErrNotFound)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: the API server has no such object: %w", doing, network.ErrNotFound)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: the agent's ServiceAccount lacks the permission: apply the permissions of its manifest again: %w", doing, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: the API server does not accept the agent's credentials: %w", doing, err)
	case apierrors.IsInvalid(err):
		return fmt.Errorf("%s: the API server at %s refuses the change as invalid; if an admission policy denies it, exempt the agent's ServiceAccount from that policy: %w", doing, c.host, err)
	case errors.As(err, &status):
		return fmt.Errorf("%s: the API server at %s refuses: %w", doing, c.host, err)
	case unreachable(err):
		return fmt.Errorf("%s: the API server at %s is unreachable: %w", doing, c.host, bare(err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// noSuchKind distinguishes a missing CRD from a missing object: no API handler answers
// for a missing CRD.
func noSuchKind(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func unreachable(err error) bool {
	var netErr net.Error
	var urlErr *url.Error
	return errors.As(err, &urlErr) || errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded)
}

// bare removes the request's URL: its long query does not help a reader.
func bare(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}

// expected reports whether a watch ended as watches regularly do.
func expected(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled)
}
