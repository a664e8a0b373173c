package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// noteBoot tells the ledger which boot of the node this is. Where that is not to
// be found out, the records count as of this boot: a VF is then held for too long
// rather than too short.
func (p *parts) noteBoot() {
	id, err := bootID(p.o.SysRoot)
	if err != nil {
		p.log.Warn("whether the node was rebooted is not known", "error", err)
		return
	}
	rebooted, err := p.ledger.Boot(id)
	if err != nil {
		p.log.Error("the records of an earlier boot of the node still count", "error", err)
	}
	if rebooted {
		p.log.Info("the node was rebooted: no VF is in use any more by the pods of before")
	}
}

func bootID(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/random/boot_id"))
	id := strings.TrimSpace(string(data))
	if err == nil && id == "" {
		err = fmt.Errorf("the kernel's boot id is empty")
	}
	return id, err
}
