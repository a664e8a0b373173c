package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	kjson "sigs.k8s.io/json"
)

// streamed is the cache.ListerWatcher of objects that tenants write. Usually the objects come
// one by one, as a watch's first events, and the informer strips each at once. An older API
// server, or one that refuses this, is sent a list request: its answer may have a thousand
// objects of 1.5 MB each (security S16). So the list is decoded while it arrives, and keep
// strips each object before the next one is read.
func streamed(client rest.Interface, resource string, selector fields.Selector, keep func(item []byte) (runtime.Object, error)) cache.ListerWatcher {
	watch := cache.ToListerWatcherWithContext(cache.NewListWatchFromClient(client, resource, metav1.NamespaceAll, selector))
	return &cache.ListWatch{
		WatchFuncWithContext: watch.WatchWithContext,
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector.String()
			o.Limit, o.Continue = 0, "" // the objects of one list need not fit into memory
			body, err := client.Get().Resource(resource).VersionedParams(&o, metav1.ParameterCodec).
				SetHeader("Accept", runtime.ContentTypeJSON).Stream(ctx)
			if err != nil {
				return nil, err
			}
			defer body.Close()
			list, err := readList(body, keep)
			if err != nil {
				return nil, fmt.Errorf("read the list of %s: %w", resource, err)
			}
			return list, nil
		},
	}
}

// readList reads a list object of any kind.
func readList(from io.Reader, keep func(item []byte) (runtime.Object, error)) (*corev1.List, error) {
	list, d := &corev1.List{}, json.NewDecoder(from)
	if err := opening(d, '{'); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "metadata":
			err = d.Decode(&list.ListMeta)
		case "items":
			err = readItems(d, func(item []byte) error {
				o, err := keep(item)
				list.Items = append(list.Items, runtime.RawExtension{Object: o})
				return err
			})
		default: // kind, apiVersion
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := d.Token() // a list that was cut off is an error here
	return list, err
}

// readItems calls each for every element of a list, one after the other.
func readItems(d *json.Decoder, each func([]byte) error) error {
	if err := opening(d, '['); err != nil {
		return err
	}
	for d.More() {
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return err
		}
		if err := each(item); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func opening(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err == nil && token != want {
		err = fmt.Errorf("%v stands where a %v was expected", token, want)
	}
	return err
}

// decodeItem decodes an object as the clients do: with exact keys.
func decodeItem(item []byte, into any) error {
	return kjson.UnmarshalCaseSensitivePreserveInts(item, into)
}
