//! Lines of a terminal with all that has scrolled out of it, and a cursor that reaches what has not.

use crate::limits::PLAIN_CELLS_MAX;

/// A place where nothing was written, or where it was erased.
const BLANK: char = '\0';
/// The second place of a wide character.
const CONTINUED: char = '\u{1}';

/// All lines, the last `rows` of which are the screen.
#[derive(Debug)]
pub(super) struct Page {
    lines: Vec<Line>,
    row: usize,
    column: usize,
    columns: usize,
    rows: usize,
    saved: (usize, usize),
    /// The last character stands at the end of its line, and the next one goes to another.
    is_full: bool,
    /// Places that hold nothing, all in all.
    blanks: usize,
}

/// One line.
#[derive(Clone, Debug, Default)]
struct Line {
    cells: Vec<char>,
    /// Characters without a place of their own, and behind which place each stands.
    marks: Vec<(usize, char)>,
    /// It goes on the line above.
    is_wrapped: bool,
}

impl Page {
    pub(super) fn new(columns: usize, rows: usize) -> Page {
        Page {
            lines: vec![Line::default()],
            row: 0,
            column: 0,
            columns,
            rows,
            saved: (0, 0),
            is_full: false,
            blanks: 0,
        }
    }

    /// The first line of the screen.
    fn top(&self) -> usize {
        self.lines.len().saturating_sub(self.rows)
    }

    fn line(&mut self) -> &mut Line {
        if self.lines.len() <= self.row {
            self.lines.resize(self.row + 1, Line::default());
        }
        let last = self.lines.len() - 1;
        let row = self.row.min(last);
        // The vector is never empty.
        #[allow(clippy::indexing_slicing)]
        &mut self.lines[row]
    }

    pub(super) fn print(&mut self, character: char, width: usize) {
        if width == 0 {
            let column = self.column;
            self.line().marks.push((column, character));
            return;
        }
        if self.is_full || self.column + width > self.columns.max(width) {
            self.line_feed();
            self.column = 0;
            self.line().is_wrapped = true;
        }
        self.is_full = false;
        let column = self.pad();
        self.line().put(column, character);
        if width == 2 {
            self.line().put(column + 1, CONTINUED);
        }
        self.column = column + width;
        if self.column >= self.columns {
            self.column = self.columns.saturating_sub(1).max(column);
            self.is_full = true;
        }
    }

    /// Fills the line up to the cursor, as far as there is room for emptiness; gives where to write.
    fn pad(&mut self) -> usize {
        let (column, blanks) = (self.column, self.blanks);
        let line = self.line();
        let gap = column.saturating_sub(line.cells.len());
        if blanks + gap > PLAIN_CELLS_MAX {
            return line.cells.len();
        }
        line.cells.resize(line.cells.len() + gap, BLANK);
        self.blanks += gap;
        column
    }

    pub(super) fn line_feed(&mut self) {
        self.is_full = false;
        self.row += 1;
        self.line();
    }

    pub(super) fn carriage_return(&mut self) {
        self.move_to_column(0);
    }

    pub(super) fn tab(&mut self) {
        self.move_to_column((self.column / 8 + 1) * 8);
    }

    pub(super) fn up(&mut self, count: usize) {
        self.is_full = false;
        self.row = self.row.saturating_sub(count).max(self.top().min(self.row));
    }

    pub(super) fn down(&mut self, count: usize) {
        self.is_full = false;
        self.row = self.row.saturating_add(count).min(self.top() + self.rows - 1);
    }

    pub(super) fn left(&mut self, count: usize) {
        self.move_to_column(self.column.saturating_sub(count));
    }

    pub(super) fn right(&mut self, count: usize) {
        self.move_to_column(self.column.saturating_add(count));
    }

    pub(super) fn move_to_column(&mut self, column: usize) {
        self.is_full = false;
        self.column = column.min(self.columns.saturating_sub(1));
    }

    pub(super) fn move_to_row(&mut self, row: usize) {
        self.is_full = false;
        self.row = self.top() + row.min(self.rows - 1);
    }

    pub(super) fn save(&mut self) {
        self.saved = (self.row.saturating_sub(self.top()), self.column);
    }

    pub(super) fn restore(&mut self) {
        let (row, column) = self.saved;
        self.move_to_row(row);
        self.move_to_column(column);
    }

    pub(super) fn erase_line(&mut self, what: usize) {
        let column = self.column;
        match what {
            // The cursor is behind the last character, as most terminals have it: that one stays.
            0 if self.is_full => {}
            0 => self.erase_from(column),
            1 => self.line().blank(0, column + 1),
            2 => self.erase_from(0),
            _ => {}
        }
    }

    /// Erases the rest of the line: nothing goes on below it then, and it goes on nothing if nothing of it is left.
    fn erase_from(&mut self, column: usize) {
        let line = self.line();
        line.truncate(column);
        line.is_wrapped &= column > 0;
        let below = self.row + 1;
        if let Some(line) = self.lines.get_mut(below) {
            line.is_wrapped = false;
        }
    }

    pub(super) fn erase_display(&mut self, what: usize) {
        let (top, row) = (self.top(), self.row);
        match what {
            0 => {
                self.erase_line(0);
                self.lines.iter_mut().skip(row + 1).for_each(Line::clear);
            }
            1 => {
                self.erase_line(1);
                self.line().is_wrapped = false;
                self.lines.iter_mut().take(row).skip(top).for_each(Line::clear);
            }
            2 => self.lines.iter_mut().skip(top).for_each(Line::clear),
            // What has scrolled away is forgotten by a terminal; here it stays, as it was read.
            _ => {}
        }
    }

    pub(super) fn erase(&mut self, count: usize) {
        let column = self.column;
        self.line().blank(column, column.saturating_add(count));
    }

    pub(super) fn delete(&mut self, count: usize) {
        let column = self.column;
        let cells = &mut self.line().cells;
        let end = column.saturating_add(count).min(cells.len());
        if column < end {
            cells.drain(column..end);
        }
    }

    pub(super) fn insert(&mut self, count: usize) {
        let (column, room) = (self.column, self.columns);
        let count = count.min(room);
        let cells = &mut self.line().cells;
        if column < cells.len() {
            cells.splice(column..column, std::iter::repeat_n(BLANK, count));
            cells.truncate(room);
        }
    }

    pub(super) fn insert_lines(&mut self, count: usize) {
        let (row, bottom) = (self.row, self.top() + self.rows);
        self.line();
        let count = count.min(bottom.saturating_sub(row));
        self.lines.splice(row..row, std::iter::repeat_n(Line::default(), count));
        self.lines.truncate(bottom.max(row + 1));
    }

    pub(super) fn delete_lines(&mut self, count: usize) {
        let row = self.row;
        self.line();
        let end = row.saturating_add(count).min(self.lines.len());
        let gone = end - row;
        self.lines.drain(row..end);
        // The screen stays where it is.
        self.lines.extend(std::iter::repeat_n(Line::default(), gone));
    }

    /// All lines as text, without what is empty at their ends and below the last of them.
    pub(super) fn to_text(&self) -> String {
        let is_blank = |line: &&Line| line.cells.iter().all(|cell| *cell == BLANK);
        let below = self.lines.iter().skip(self.row + 1).rev().take_while(is_blank).count();
        let mut text = String::new();
        for (index, line) in self.lines.iter().take(self.lines.len() - below).enumerate() {
            if index > 0 && !line.is_wrapped {
                text.push('\n');
            }
            line.push_to(&mut text);
        }
        text
    }
}

impl Line {
    fn put(&mut self, column: usize, character: char) {
        match self.cells.get_mut(column) {
            Some(cell) => *cell = character,
            None => self.cells.push(character),
        }
        self.marks.retain(|(at, _)| *at != column + 1);
    }

    fn truncate(&mut self, column: usize) {
        self.cells.truncate(column);
        self.marks.retain(|(at, _)| *at <= column);
    }

    fn clear(&mut self) {
        *self = Line::default();
    }

    fn blank(&mut self, from: usize, to: usize) {
        let to = to.min(self.cells.len());
        self.cells.iter_mut().take(to).skip(from).for_each(|cell| *cell = BLANK);
        self.marks.retain(|(at, _)| !(from < *at && *at <= to));
    }

    fn push_to(&self, text: &mut String) {
        let end = self.cells.iter().rposition(|cell| *cell != BLANK).map_or(0, |last| last + 1);
        for (column, cell) in self.cells.iter().take(end).enumerate() {
            match *cell {
                BLANK => text.push(' '),
                CONTINUED => {}
                character => text.push(character),
            }
            if !self.marks.is_empty() {
                text.extend(self.marks.iter().filter(|(at, _)| *at == column + 1).map(|(_, mark)| mark));
            }
        }
    }
}
