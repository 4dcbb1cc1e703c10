//! Meta's error codes.

use std::fmt;

macro_rules! codes {
    ($($variant:ident = $name:literal,)+) => {
        /// What is wrong, by Meta's own code, so that local and remote findings read alike.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Meta's spelling.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

// WhatsApp Flows reference 4.11, in its order. Codes that only Meta's servers can give (beta access of an account, a
// broken schema on their side) are left out.
codes! {
    InvalidFlowJson = "INVALID_FLOW_JSON",
    MissingFlowJsonVersion = "MISSING_FLOW_JSON_VERSION",
    InvalidFlowJsonVersion = "INVALID_FLOW_JSON_VERSION",
    UnsupportedFlowJsonVersion = "UNSUPPORTED_FLOW_JSON_VERSION",
    UnavailableFlowJsonVersion = "UNAVAILABLE_FLOW_JSON_VERSION",
    InvalidFlowJsonVersionState = "INVALID_FLOW_JSON_VERSION_STATE",
    InvalidDataApiVersion = "INVALID_DATA_API_VERSION",
    NoSupportedDataApiVersion = "NO_SUPPORTED_DATA_API_VERSION",
    InvalidPropertyKey = "INVALID_PROPERTY_KEY",
    InvalidPropertyValue = "INVALID_PROPERTY_VALUE",
    InvalidPropertyType = "INVALID_PROPERTY_TYPE",
    InvalidPropertyValueFormat = "INVALID_PROPERTY_VALUE_FORMAT",
    MissingRequiredProperty = "MISSING_REQUIRED_PROPERTY",
    MissingRequiredTypeProperty = "MISSING_REQUIRED_TYPE_PROPERTY",
    InvalidTypePropertyValue = "INVALID_TYPE_PROPERTY_VALUE",
    MinItemsRequired = "MIN_ITEMS_REQUIRED",
    MaxItemsRequired = "MAX_ITEMS_REQUIRED",
    MinCharsRequired = "MIN_CHARS_REQUIRED",
    MinimumValueRequired = "MINIMUM_VALUE_REQUIRED",
    MaximumValueRequired = "MAXIMUM_VALUE_REQUIRED",
    PatternMismatch = "PATTERN_MISMATCH",
    PropertyNameMismatch = "PROPERTY_NAME_MISMATCH",
    InvalidEnumValue = "INVALID_ENUM_VALUE",
    InvalidDependencies = "INVALID_DEPENDENCIES",
    NotKeywordSchemaValidationFailed = "NOT_KEYWORD_SCHEMA_VALIDATION_FAILED",
    KeywordOneOf = "KEYWORD_ONE_OF",
    InvalidRoutingModel = "INVALID_ROUTING_MODEL",
    InvalidNavigateActionPayload = "INVALID_NAVIGATE_ACTION_PAYLOAD",
    MissingNavigationActionPayload = "MISSING_NAVIGATION_ACTION_PAYLOAD",
    InvalidNavigateActionNextScreenName = "INVALID_NAVIGATE_ACTION_NEXT_SCREEN_NAME",
    InvalidOnClickActionPayload = "INVALID_ON_CLICK_ACTION_PAYLOAD",
    InvalidCompleteAction = "INVALID_COMPLETE_ACTION",
    InvalidUpdateDataActionPayload = "INVALID_UPDATE_DATA_ACTION_PAYLOAD",
    InvalidActionPayloadProperty = "INVALID_ACTION_PAYLOAD_PROPERTY",
    InvalidScreenData = "INVALID_SCREEN_DATA",
    InvalidScreenDynamicData = "INVALID_SCREEN_DYNAMIC_DATA",
    MaxScreensNumber = "MAX_SCREENS_NUMBER",
    MaxAllowedComponentsPerScreen = "MAX_ALLOWED_COMPONENTS_PER_SCREEN",
    ComponentTypeMaxNumberPerScreen = "COMPONENT_TYPE_MAX_NUMBER_PER_SCREEN",
    MaxFooterPerScreen = "MAX_FOOTER_PER_SCREEN",
    MaxEmbeddedLinkPerScreen = "MAX_EMBEDDED_LINK_PER_SCREEN",
    MaxImagePerScreen = "MAX_IMAGE_PER_SCREEN",
    MaxOptInPerScreen = "MAX_OPT_IN_PER_SCREEN",
    MinValueGreaterThanMax = "MIN_VALUE_GREATER_THAN_MAX",
    InvalidRichtextPlacement = "INVALID_RICHTEXT_PLACEMENT",
    InvalidComponentPlacement = "INVALID_COMPONENT_PLACEMENT",
    ComponentsOutsideForm = "COMPONENTS_OUTSIDE_FORM",
    MoreThanOneFooter = "MORE_THAN_ONE_FOOTER",
    MissingFooterOnTerminalScreen = "MISSING_FOOTER_ON_TERMINAL_SCREEN",
    MissingFooterInIfElseBranches = "MISSING_FOOTER_IN_IF_ELSE_BRANCHES",
    MissingFooterInSwitchBranches = "MISSING_FOOTER_IN_SWITCH_BRANCHES",
    EmptySwitchCases = "EMPTY_SWITCH_CASES",
    MaximumIfNesting = "MAXIMUM_IF_NESTING",
    DuplicateScreenIds = "DUPLICATE_SCREEN_IDS",
    ScreenIdIsReservedKeyword = "SCREEN_ID_IS_RESERVED_KEYWORD",
    DuplicateFormComponentNames = "DUPLICATE_FORM_COMPONENT_NAMES",
    InvalidSensitiveField = "INVALID_SENSITIVE_FIELD",
    MissingTerminalScreen = "MISSING_TERMINAL_SCREEN",
    NativeComponentInFormInitValues = "NATIVE_COMPONENT_IN_FORM_INIT_VALUES",
    DataSourceItemsHaveBothImageAndColor = "DATA_SOURCE_ITEMS_HAVE_BOTH_IMAGE_AND_COLOR",
    InvalidDateRange = "INVALID_DATE_RANGE",
    InvalidMinMaxDays = "INVALID_MIN_MAX_DAYS",
    InvalidDateSingleInitValueFormat = "INVALID_DATE_SINGLE_INIT_VALUE_FORMAT",
    MissingCalendarPickerRangeModeProp = "MISSING_CALENDAR_PICKER_RANGE_MODE_PROP",
    UnexpectedCalendarPickerRangeModeProp = "UNEXPECTED_CALENDAR_PICKER_RANGE_MODE_PROP",
    InvalidPropertyNameForCondition = "INVALID_PROPERTY_NAME_FOR_CONDITION",
    InvalidPropertyValueForCondition = "INVALID_PROPERTY_VALUE_FOR_CONDITION",
    DuplicatePropertyForCondition = "DUPLICATE_PROPETY_FOR_CONDITION",
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
