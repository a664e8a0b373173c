package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"fairlead.dev/fairlead/test/lab/internal/apt"
	"fairlead.dev/fairlead/test/lab/internal/cache"
	"fairlead.dev/fairlead/test/lab/internal/gotool"
	"fairlead.dev/fairlead/test/lab/internal/guestos"
	"fairlead.dev/fairlead/test/lab/internal/host"
	"fairlead.dev/fairlead/test/lab/internal/image"
	"fairlead.dev/fairlead/test/lab/internal/progress"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

// prepared is everything that is made before anything runs.
type prepared struct {
	kubernetes string // folder of programs
	etcd       string // program
	kernel     guestos.Kernel
	initramfs  string
	disk       string
	accel      string
}

// preparer makes the pieces, one step each, or finds them in the cache.
type preparer struct {
	*lab
	repo  string
	log   *os.File
	maker *guestos.Maker
	out   prepared

	guest  string // folder of the guest programs
	rootfs string
	images []string
}

func (l *lab) prepare(ctx context.Context) (prepared, error) {
	p := &preparer{lab: l}
	if err := p.begin(ctx); err != nil {
		return prepared{}, err
	}
	defer p.log.Close()
	for _, s := range []struct {
		name string
		fn   func(context.Context, *progress.Step) error
	}{
		{"host packages", p.hostPackages},
		{"kernel", p.makeKernel},
		{"root file system", p.makeRootfs},
		{"guest programs", p.makeGuest},
		{"kubernetes " + gotool.KubernetesVersion, p.makeKubernetes},
		{"etcd", p.makeEtcd},
		{"images", p.makeImages},
		{"initramfs", p.makeInitramfs},
		{"accelerator", p.chooseAccel},
		{"base disk", p.makeDisk},
	} {
		if err := p.step(ctx, s.name, s.fn); err != nil {
			return prepared{}, fmt.Errorf("%s: %w\nfull log: %s", s.name, err, p.log.Name())
		}
	}
	return p.out, nil
}

func (p *preparer) begin(ctx context.Context) error {
	repo, err := gotool.Repo(ctx)
	if err != nil {
		return err
	}
	p.repo = repo
	if err := os.MkdirAll(p.layout.Cache, 0o755); err != nil {
		return err
	}
	p.keepInUse()
	p.log, err = os.Create(filepath.Join(p.layout.Cache, "prepare.log"))
	return err
}

// keepInUse keeps the running lab's files from being pruned.
func (p *preparer) keepInUse() {
	state, err := p.layout.ReadState()
	if err != nil {
		return
	}
	for _, path := range []string{state.Disk, filepath.Dir(state.Kubectl), filepath.Dir(filepath.Dir(state.Kernel))} {
		cache.Touch(path) // gone: begin says so
	}
}

func (p *preparer) hostPackages(ctx context.Context, s *progress.Step) error {
	system, err := apt.ReadSystem("/")
	if err != nil {
		return err
	}
	setup := host.Setup{System: system, Dir: p.layout.Cache, Log: p.log}
	guestAPT := &apt.APT{
		Dir:     filepath.Join(p.layout.Cache, "apt-"+guestos.Suite),
		Sources: apt.Format(apt.Derive(system.Sources, system.Codename, guestos.Suite)),
		Log:     p.log,
	}
	p.maker = &guestos.Maker{Dir: p.layout.Cache, APT: guestAPT, Log: p.log}
	p.maker.Update = onceOnly(func(ctx context.Context) error {
		if err := setup.Check(nil); err != nil {
			return err
		}
		p.maker.Status("fetching the package lists of %s", guestos.Suite)
		return guestAPT.Update(ctx)
	})
	missing := host.Missing(ctx)
	if len(missing) == 0 {
		return nil
	}
	s.Status("installing %s", strings.Join(missing, ", "))
	if err := setup.Check(missing); err != nil {
		return err
	}
	return setup.Install(ctx, missing)
}

func onceOnly(fn func(context.Context) error) func(context.Context) error {
	var once sync.Once
	var err error
	return func(ctx context.Context) error {
		once.Do(func() { err = fn(ctx) })
		return err
	}
}

func (p *preparer) makeKernel(ctx context.Context, s *progress.Step) (err error) {
	p.maker.Status = s.Status
	p.out.kernel, err = p.maker.Kernel(ctx)
	s.Result("%s", p.out.kernel.Version)
	return err
}

func (p *preparer) makeRootfs(ctx context.Context, s *progress.Step) (err error) {
	p.maker.Status = s.Status
	p.rootfs, err = p.maker.Rootfs(ctx)
	return err
}

// makeGuest always asks the compiler: its own cache is quick, and the
// sources are this repository's.
func (p *preparer) makeGuest(ctx context.Context, s *progress.Step) error {
	p.guest = filepath.Join(p.layout.Cache, "guest")
	return gotool.Guest(p.repo).Compile(ctx, p.guest, s.Status)
}

func (p *preparer) makeKubernetes(ctx context.Context, s *progress.Step) (err error) {
	p.out.kubernetes, err = gotool.Kubernetes(p.repo).Build(ctx, p.layout.Cache, s.Status)
	return err
}

func (p *preparer) makeEtcd(ctx context.Context, s *progress.Step) error {
	dir, err := gotool.Etcd(p.repo).Build(ctx, p.layout.Cache, s.Status)
	p.out.etcd = filepath.Join(dir, "etcd")
	return err
}

func (p *preparer) makeImages(ctx context.Context, _ *progress.Step) error {
	pause := filepath.Join(p.guest, "pause")
	sum, err := cache.KeyFile(pause)
	if err != nil {
		return err
	}
	a := cache.Artefact{Dir: p.layout.Cache, Name: "images", Key: cache.Key(sum, []byte(filepath.Base(p.rootfs)), image.Recipe())}
	dir, err := a.Make(ctx, func(ctx context.Context, out string) error {
		return image.Build(ctx, p.rootfs, pause, out)
	})
	if err != nil {
		return err
	}
	p.images, err = filepath.Glob(filepath.Join(dir, "*.tar"))
	return err
}

func (p *preparer) makeInitramfs(ctx context.Context, _ *progress.Step) (err error) {
	p.out.initramfs, err = p.maker.Initramfs(ctx, p.out.kernel, p.rootfs, filepath.Join(p.guest, "guestagent"))
	return err
}

func (p *preparer) chooseAccel(ctx context.Context, s *progress.Step) error {
	p.out.accel = vm.ChooseAccel(ctx, p.boot("probe", p.out.initramfs), filepath.Join(p.layout.Cache, "accelerator"))
	s.Result("%s", p.out.accel)
	return nil
}

func (p *preparer) boot(name, initramfs string) vm.Boot {
	return vm.Boot{
		Accel: p.out.accel, Kernel: p.out.kernel.Image(), Initramfs: initramfs,
		Serial: filepath.Join(p.layout.Cache, name+"-console.log"),
	}
}

func (p *preparer) makeDisk(ctx context.Context, s *progress.Step) (err error) {
	p.maker.Status = s.Status
	p.out.disk, err = p.maker.Disk(ctx, guestos.DiskInputs{
		Rootfs: p.rootfs, Kernel: p.out.kernel, Kubernetes: p.out.kubernetes, Images: p.images,
		Import: p.importImages,
	})
	return err
}

// importImages boots the disk with the images in the initramfs, so that they are not
// on the disk twice.
func (p *preparer) importImages(ctx context.Context, disk string) error {
	files := map[string]guestos.File{}
	for _, tar := range p.images {
		b, err := os.ReadFile(tar)
		if err != nil {
			return err
		}
		files["lab/images/"+filepath.Base(tar)] = guestos.File{Mode: 0o644, Data: b}
	}
	initrd := filepath.Join(p.layout.Cache, ".prepare-initrd")
	defer os.Remove(initrd)
	if err := guestos.WriteNodeInitrd(initrd, p.out.initramfs, files); err != nil {
		return err
	}
	return vm.Prepare(ctx, p.boot("prepare", initrd), disk)
}
