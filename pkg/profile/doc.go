// Package profile brings the NICs of this node into the state that profiles
// declare. Plan compares and lists the steps, Applier takes them and reads back,
// Converge repeats both until nothing is left to do.
//
//	govern.go      which profile and which group a PF or VF belongs to
//	custody.go     who uses a PF or VF, and what may be changed all the same
//	gather.go      what Plan compares, read once per PF
//	plan.go        the steps of a PF
//	plan_vf.go     the steps of a VF: one for each row of device.Knobs that differs
//	step.go        the steps and their text
//	apply.go       the steps of several PFs at once
//	apply_pf.go    number of VFs, MTU, up
//	apply_vf.go    the knobs of all VFs of a PF, place by place
//	apply_knobs.go those at the PF: one message a VF, one reading for all
//	reserve.go     nobody gets a VF that is being changed
//	converge.go    plan and apply until nothing is left
//	status.go      what keeps a profile from being in effect
//	drift.go       knobs that somebody has changed by hand
//
// Plan is a pure function of profiles and NICs. It adopts what fits: existing VFs
// are not made again, and a second plan after a successful one is empty. A VF that
// somebody uses is never touched: its knobs belong to the pod's network until it is
// released. A PF that the host uses is changed only if the profile names it.
//
// The package does not put VFs into pools (pkg/config says which group has which
// resource) and does not drain nodes. It remembers only which number of VFs a PF
// has just refused.
package profile
