package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

const ledgerFile = "/var/lib/fairlead/ledger.db"

// recorded lists the keys of a node's ledger, read from the file and not from the agent.
func recorded(ctx context.Context, lab execer, node string) ([]string, error) {
	content, err := lab.Exec(ctx, node, "cat "+ledgerFile)
	if err != nil {
		return nil, err
	}
	again, err := lab.Exec(ctx, node, "cat "+ledgerFile)
	if err != nil {
		return nil, err
	}
	if content != again {
		return nil, fmt.Errorf("%s on %s is being written", ledgerFile, node)
	}
	dir, err := os.MkdirTemp("", "ledger-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "ledger.db")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return nil, err
	}
	keys, err := ledgerKeys(file)
	for i := range keys {
		keys[i] = node + " ledger " + keys[i]
	}
	return keys, err
}

// ledgerKeys returns bucket and key of each record, without those about the file itself.
func ledgerKeys(file string) (keys []string, err error) {
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte("sandboxes")) == nil || tx.Bucket([]byte("allocations")) == nil {
			return fmt.Errorf("%s lacks a bucket", file)
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if string(name) == "meta" {
				return nil
			}
			return b.ForEach(func(key, _ []byte) error {
				keys = append(keys, fmt.Sprintf("%s %s", name, key))
				return nil
			})
		})
	})
	return keys, err
}
