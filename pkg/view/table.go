package view

import (
	"slices"
	"strings"
)

// fit leaves out columns, in the order of their names, until the rows are no wider than
// the terminal; then it shortens the last column. A width of 0 is no limit.
func fit(rows [][]string, width int, leaveOut ...string) [][]string {
	for _, name := range leaveOut {
		if width <= 0 || tableWidth(rows) <= width {
			return rows
		}
		i := slices.Index(rows[0], name)
		narrower := make([][]string, len(rows))
		for j, row := range rows {
			narrower[j] = slices.Delete(slices.Clone(row), i, i+1)
		}
		rows = narrower
	}
	if over := tableWidth(rows) - width; width > 0 && over > 0 {
		shortenLast(rows, over)
	}
	return rows
}

// shortenLast takes columns from the last cell of each row, down to eight.
func shortenLast(rows [][]string, over int) {
	last := len(rows[0]) - 1
	widest := 0
	for _, row := range rows {
		widest = max(widest, columns(row[last]))
	}
	room := max(widest-over, 8)
	for _, row := range rows {
		if letters := []rune(row[last]); len(letters) > room {
			row[last] = string(letters[:room-1]) + "…"
		}
	}
}

func tableWidth(rows [][]string) int {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], columns(cell), 1) // an empty cell is drawn as "-"
		}
	}
	sum := len(gap) * (len(width) - 1)
	for _, w := range width {
		sum += w
	}
	return sum
}

// table writes rows as aligned columns, two blanks apart. Lines have no trailing blanks:
// scripts cut them and golden files compare them.
func table(out *strings.Builder, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], columns(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", max(width[i]-columns(cell), 0)+len(gap)))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
